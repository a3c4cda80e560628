package inner

func main(value any) any {
	return value
}
