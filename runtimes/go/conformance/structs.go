package inner

import (
	"encoding/json"
	"time"
)

type Item struct {
	Name  string    `json:"name"`
	Price float64   `json:"price,omitempty"`
	When  time.Time `json:"when"`
	Raw   json.RawMessage
	Data  []byte
}

type order struct {
	Item
	Items []*Item         `json:"items"`
	Tags  map[string]bool `json:"tags"`
}

func main(order order, Case int) (any, error) {
	order.Items[0].Price *= 2
	order.Tags["seen"] = Case == 7
	return &order, nil
}
