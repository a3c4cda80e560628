package inner

import "time"

func main() string {
	go func() { panic("boom in goroutine") }()
	time.Sleep(time.Second)
	return "not reached"
}
