package inner

import (
	"fmt"
	"os"
)

func main() {
	fmt.Println("last words")
	os.Exit(3)
}
