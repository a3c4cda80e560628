package inner

func main() {}
