package inner

import "errors"

func main(text string) (any, error) {
	return "not a result", errors.New(text)
}
