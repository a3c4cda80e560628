package inner

import (
	"fmt"
	"runtime"
	"slices"
)

type Summary struct {
	Max    int   `json:"max"`
	Sorted []int `json:"sorted"`
}

func main(name string, numbers []int) (Summary, error) {
	fmt.Printf("hello %s, this is %s, compiled for this job\n", name, runtime.Version())
	slices.Sort(numbers)
	return Summary{slices.Max(numbers), numbers}, nil
}
