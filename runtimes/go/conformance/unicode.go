package inner

import "fmt"

func main(text string) string {
	fmt.Println(text)
	return text
}
