package inner

import (
	"os"
	"sort"
	"strings"
)

type found struct {
	Job      string   `json:"job"`
	Greeting string   `json:"greeting"`
	Empty    string   `json:"empty"`
	Foreign  []string `json:"foreign"`
}

func main() (found, error) {
	foreign := []string{}
	for _, variable := range os.Environ() {
		if strings.HasPrefix(variable, "EXECUTOR") {
			name, _, _ := strings.Cut(variable, "=")
			foreign = append(foreign, name)
		}
	}
	sort.Strings(foreign)
	empty, isSet := os.LookupEnv("EMPTY")
	if !isSet {
		empty = "not set"
	}
	return found{os.Getenv("WM_JOB_ID"), os.Getenv("GREETING"), empty, foreign}, nil
}
