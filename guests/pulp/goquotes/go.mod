module goquotes

go 1.24
