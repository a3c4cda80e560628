package inner

func main(text string, integer int, fraction float64, truth bool, nothing *string, list []any, object struct{ Inner []bool }) (map[string]any, error) {
	return map[string]any{
		"text":     text + "!",
		"integer":  integer + 1,
		"fraction": fraction / 2,
		"truth":    !truth,
		"nothing":  nothing == nil,
		"list":     len(list),
		"object":   object.Inner,
	}, nil
}
