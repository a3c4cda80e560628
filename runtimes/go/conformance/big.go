package inner

func main(text string) (string, error) {
	return text, nil
}
