package inner

import "os"

func main() (int, error) {
	return undefinedName, nil
}
