package beldi

import (
	"errors"
	"iter"

	beldiv1 "github.com/beldi/beldi/proto/beldi/v1"
)

// Query selects keys of a table, in byte order.
type Query struct {
	// Prefix that the keys begin with; "" for all.
	Prefix string
	// After is the Next of the page before; "" for the first page.
	After string
	// Limit is the size of a page: 100 if 0, at most 1000.
	Limit int
}

// Entry is a key and its value.
type Entry[T any] struct {
	Key   string
	Value T
}

// List returns one page of keys with their values, and where the next page begins: "" after the last. A list is an observation at
// some moment of each key, no snapshot of all.
func List[T any](c *Context, table string, q Query) (page []Entry[T], next string, err error) {
	answer, err := c.list(table, q, true)
	if err != nil {
		return nil, "", err
	}
	for _, e := range answer.GetEntries() {
		value, err := decode[T](e.GetValue())
		if err != nil {
			return nil, "", err
		}
		page = append(page, Entry[T]{e.GetKey(), value})
	}
	return page, answer.GetNext(), nil
}

// ListKeys is [List] without values.
func (c *Context) ListKeys(table string, q Query) (keys []string, next string, err error) {
	answer, err := c.list(table, q, false)
	for _, e := range answer.GetEntries() {
		keys = append(keys, e.GetKey())
	}
	return keys, answer.GetNext(), err
}

// All goes over all pages of a [List]; each page is a step. It ends after an error.
func All[T any](c *Context, table string, q Query) iter.Seq2[Entry[T], error] {
	return pages(q, func(q Query) ([]Entry[T], string, error) { return List[T](c, table, q) })
}

// Keys goes over all pages of a [Context.ListKeys].
func (c *Context) Keys(table string, q Query) iter.Seq2[string, error] {
	return pages(q, func(q Query) ([]string, string, error) { return c.ListKeys(table, q) })
}

func pages[E any](q Query, list func(Query) ([]E, string, error)) iter.Seq2[E, error] {
	return func(yield func(E, error) bool) {
		for {
			page, next, err := list(q)
			if err != nil {
				var none E
				yield(none, err)
				return
			}
			for _, e := range page {
				if !yield(e, nil) {
					return
				}
			}
			if next == "" {
				return
			}
			q.After = next
		}
	}
}

func (c *Context) list(table string, q Query, values bool) (*beldiv1.ListResponse, error) {
	if err := errors.Join(checkText("the table", table), checkText("the prefix", q.Prefix), checkText("Query.After", q.After)); err != nil {
		return nil, err
	}
	answer, err := c.ask(&beldiv1.Step{Op: &beldiv1.Step_List{List: &beldiv1.ListRequest{
		Table: table, Prefix: q.Prefix, Limit: int32(q.Limit), After: q.After, Values: values}}}, len(q.Prefix)+len(q.After))
	return answer.GetList(), err
}
