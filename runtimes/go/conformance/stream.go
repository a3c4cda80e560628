package inner

import "fmt"

func main() error {
	fmt.Println(`WM_STREAM: one\n`)
	fmt.Println("between")
	fmt.Println("WM_STREAM: two")
	fmt.Println("WM_STREAM: three")
	return nil
}
