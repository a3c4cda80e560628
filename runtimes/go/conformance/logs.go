package inner

import (
	"fmt"
	"os"
)

func main() string {
	for i := 1; i <= 3; i++ {
		fmt.Println("out", i)
		fmt.Fprintln(os.Stderr, "err", i)
	}
	return "done"
}
