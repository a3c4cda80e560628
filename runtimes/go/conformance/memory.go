package inner

import "fmt"

func main() int {
	fmt.Println("built and started")
	var kept [][]byte
	for {
		block := make([]byte, 4<<20)
		for i := range block {
			block[i] = 1
		}
		kept = append(kept, block)
	}
}
