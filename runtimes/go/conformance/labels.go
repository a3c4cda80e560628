package inner

type result struct {
	Labels []string `json:"wm_labels"`
	Value  int      `json:"value"`
}

func main(value int) result {
	return result{[]string{"red", "blue"}, value}
}
