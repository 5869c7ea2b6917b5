module gomirror

go 1.24
