package inner

func main() {
	if
}
