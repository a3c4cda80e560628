module executor

go 1.27
