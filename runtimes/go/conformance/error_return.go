package inner

import "fmt"

type failure struct{ code int }

func (f *failure) Error() string { return fmt.Sprintf("code %d", f.code) }

func main() error {
	fmt.Println("before")
	return fmt.Errorf("wrapped: %w", &failure{7})
}
