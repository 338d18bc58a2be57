package server

// Endpoint is a service whose functions are reached over HTTP: the attempt of function F is POSTed to URL + "/" + F.
type Endpoint struct {
	Service   string
	URL       string
	Functions []string
	// Concurrency is how many attempts it gets at once; 0: no limit.
	Concurrency int
}
