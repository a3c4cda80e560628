package inner

type server struct{ Port int `json:"port"` }

func main(server server) int { return server.Port }
