package call

import (
	"bytes"
	"encoding/json"
	"errors"
)

// split tells the value from the error; a function may return either, both, or nothing.
func split(results Results) (value any, failure, err error) {
	if len(results) == 0 {
		return nil, nil, nil
	}
	last, fails := results[len(results)-1].(*error)
	switch {
	case len(results) == 1 && fails:
		return nil, *last, nil
	case len(results) == 1:
		return results[0], nil, nil
	case len(results) == 2 && fails:
		return results[0], *last, nil
	}
	return nil, nil, errors.New("the function must return a value, an error, a value and an error, or nothing")
}

// encode makes the document {name: value}. Text stays as it is: nobody reads it as HTML.
func encode(name string, value any) ([]byte, error) {
	var document bytes.Buffer
	document.WriteString(`{"` + name + `":`)
	encoder := json.NewEncoder(&document)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, err
	}
	document.WriteByte('}')
	return document.Bytes(), nil
}
