package inner

import "math"

func main() any { return map[string]any{"value": math.NaN()} }
