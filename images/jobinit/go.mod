module jobinit

go 1.23
