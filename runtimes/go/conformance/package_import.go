package inner

import (
	"fmt"

	"github.com/google/uuid"
)

func main() string {
	return fmt.Sprint(uuid.New())
}
