// sandbox {image:bash}
package inner

func main() int { return 1 }
