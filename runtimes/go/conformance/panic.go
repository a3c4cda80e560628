package inner

func main(list []int) int {
	return list[3]
}
