package inner

//require github.com/google/uuid v1.6.0

func main() {}
