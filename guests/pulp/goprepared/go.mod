module goprepared

go 1.24
