package inner

import (
	"encoding/json"
	"os"
)

func main() (any, error) {
	text, err := os.ReadFile("args.json")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile("copy.json", text, 0o600); err != nil {
		return nil, err
	}
	copied, err := os.ReadFile("./copy.json")
	if err != nil {
		return nil, err
	}
	var args struct{ Value any }
	err = json.Unmarshal(copied, &args)
	return args.Value, err
}
