package inner

import "time"

type point struct{ X, Y int }

func main(text string, n int, list []int, object map[string]int, p point, pointer *point, when time.Time, anything any, rest ...string) []any {
	return []any{text, n, list, object, p, pointer, when.IsZero(), anything, rest}
}
