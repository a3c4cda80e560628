package inner

import "os"

func main() (map[string]any, error) {
	before := []string{}
	entries, err := os.ReadDir("./shared")
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		before = append(before, entry.Name())
	}
	if err := os.WriteFile("./shared/note", []byte("written"), 0o600); err != nil {
		return nil, err
	}
	after, err := os.ReadFile("/shared/note")
	return map[string]any{"before": before, "after": string(after)}, err
}
