package call

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
)

// arguments are the job's, by name.
type arguments map[string]json.RawMessage

func readArguments() (arguments, error) {
	text, err := os.ReadFile("args.json")
	if err != nil {
		return nil, fmt.Errorf("the arguments cannot be read: %w", err)
	}
	return parse(text)
}

func parse(text []byte) (arguments, error) {
	var args arguments
	if err := json.Unmarshal(text, &args); err != nil {
		return nil, fmt.Errorf("the arguments are no JSON object: %w", err)
	}
	return args, nil
}

// entryPoint is the name of the function to call, if the arguments give one.
func (a arguments) entryPoint() (name string) {
	json.Unmarshal(a[override], &name) // what is no string names nothing
	return name
}

// take decodes an argument into the variable; a missing one, like null, leaves it at its zero value.
func (a arguments) take(name string, variable Any) {
	if err := a.decode(name, variable); err != nil {
		refuse("bad_input", err.Error())
	}
}

func (a arguments) decode(name string, variable Any) error {
	value, found := a.find(name)
	if !found {
		return nil
	}
	err := json.Unmarshal(value, variable)
	var mismatch *json.UnmarshalTypeError
	if errors.As(err, &mismatch) {
		if mismatch.Field != "" {
			name += "." + mismatch.Field
		}
		return fmt.Errorf("argument %q: a JSON %s is no Go %v", name, mismatch.Value, mismatch.Type)
	}
	if err != nil {
		return fmt.Errorf("argument %q: %w", name, err)
	}
	return nil
}

// find looks for the name as a field of a struct is looked for: as it is, else in any case.
func (a arguments) find(name string) (json.RawMessage, bool) {
	if value, found := a[name]; found {
		return value, true
	}
	for other, value := range a {
		if strings.EqualFold(other, name) {
			return value, true
		}
	}
	return nil, false
}
