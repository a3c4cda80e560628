package inner

func helper() {}

func other[T any](value T) T { return value }
