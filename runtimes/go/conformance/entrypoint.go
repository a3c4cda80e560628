package inner

func main() string { return "main" }

func other(n int) int { return n + 1 }
