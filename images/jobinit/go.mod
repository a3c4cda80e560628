module jobinit

go 1.27
