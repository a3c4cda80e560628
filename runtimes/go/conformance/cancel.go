package inner

import (
	"fmt"
	"os"
	"os/signal"
	"time"
)

func main() string {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, os.Interrupt)
	fmt.Println("begun")
	select {
	case <-asked:
		fmt.Println("cleaned up")
		return "cancelled"
	case <-time.After(time.Minute):
		return "not cancelled"
	}
}
