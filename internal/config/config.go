// Package config holds the settings of a sidecar and reads them from beldi.yaml, the environment and flags. What is
// nearer to the command line wins: flag, environment, file, default.
//
// Every setting stands once, in Settings: its name in each of the three places, its help, how it is read and shown.
// Mistakes are collected, not returned one by one, and each says where it is and what would be right.
package config

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Config is what a sidecar runs with. Default gives the values of a sidecar without a file.
type Config struct {
	Realm          string
	GRPC           string // host:port; "" is off
	HTTP           string // host:port; "" is off
	Socket         string // path; "" is off
	Store          string // memory or pebble
	Dir            string
	Fsync          bool
	CacheBytes     int64
	Services       map[string]Service
	Lease          time.Duration
	AttemptTimeout time.Duration
	MaxAttempts    int
	Token          string
	OTLP           string // host:port or URL of an OpenTelemetry collector; "" is off
}

// Service is a service whose functions are HTTP endpoints that do not announce themselves.
type Service struct {
	Endpoint  string // the attempt of function F is POSTed to Endpoint + "/" + F
	Functions []string
}

// Default is a sidecar with no settings at all: embedded store, loopback and a Unix socket of this user.
func Default() Config {
	return Config{
		Realm:          "local",
		GRPC:           "127.0.0.1:7401",
		HTTP:           "127.0.0.1:7400",
		Socket:         DefaultSocket(),
		Store:          "pebble",
		Dir:            ".beldi",
		Fsync:          true,
		CacheBytes:     8 << 20,
		Services:       map[string]Service{},
		Lease:          10 * time.Second,
		AttemptTimeout: 5 * time.Minute,
		MaxAttempts:    10,
	}
}

// DefaultSocket is the path that sidecars and SDKs agree on without being told.
func DefaultSocket() string {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "beldi.sock")
	}
	return fmt.Sprintf("/tmp/beldi-%d/beldi.sock", os.Getuid())
}

// Setting is one key of beldi.yaml, with its flag; the environment variable is derived from the flag.
type Setting struct {
	Key   string // "listen.grpc"
	Flag  string // "grpc"
	Help  string
	Wants string // completes "want …"
	// Secret values are not shown.
	Secret bool

	set func(c *Config, text string) error
	get func(c *Config) string
}

// Env is the environment variable of the setting: BELDI_ and the flag's name.
func (s Setting) Env() string {
	return "BELDI_" + strings.ToUpper(strings.ReplaceAll(s.Flag, "-", "_"))
}

// Get is the setting's value as text, as it would be written in the file.
func (s Setting) Get(c *Config) string { return s.get(c) }

// Settings are all settings but services, in the order in which they are shown.
var Settings = []Setting{
	{
		Key: "realm", Flag: "realm", Help: "Name of the realm this sidecar belongs to.",
		Wants: "1 to 64 letters, digits, '-', '.' or '_'",
		set:   realm, get: func(c *Config) string { return c.Realm },
	},
	{
		Key: "listen.grpc", Flag: "grpc", Help: "Address of the gRPC listener.",
		Wants: `host:port such as 127.0.0.1:7401, or "off"`,
		set:   address(func(c *Config) *string { return &c.GRPC }),
		get:   func(c *Config) string { return orOff(c.GRPC) },
	},
	{
		Key: "listen.http", Flag: "http", Help: "Address of the REST listener.",
		Wants: `host:port such as 127.0.0.1:7400, or "off"`,
		set:   address(func(c *Config) *string { return &c.HTTP }),
		get:   func(c *Config) string { return orOff(c.HTTP) },
	},
	{
		Key: "listen.socket", Flag: "socket", Help: "Path of the Unix socket (gRPC).",
		Wants: `a path of at most 100 bytes, or "off"`,
		set:   socket, get: func(c *Config) string { return orOff(c.Socket) },
	},
	{
		Key: "store.kind", Flag: "store", Help: "Where state lives.",
		Wants: "memory or pebble",
		set:   storeKind, get: func(c *Config) string { return c.Store },
	},
	{
		Key: "store.dir", Flag: "data", Help: "Directory of the embedded store.",
		Wants: "a path",
		set:   directory, get: func(c *Config) string { return c.Dir },
	},
	{
		Key: "store.fsync", Flag: "fsync", Help: "Answer only when data is on disk; without it a power loss may take back what was answered.",
		Wants: "true or false",
		set:   fsync, get: func(c *Config) string { return strconv.FormatBool(c.Fsync) },
	},
	{
		Key: "store.cache", Flag: "cache", Help: "Memory for the embedded store's block cache.",
		Wants: "a size between 1MiB and 64GiB, such as 8MiB",
		set:   cache, get: func(c *Config) string { return size(c.CacheBytes) },
	},
	{
		Key: "lease", Flag: "lease", Help: "How long an instance stays with a sidecar that says nothing more.",
		Wants: "a duration between 1s and 10m, such as 10s",
		set:   duration(func(c *Config) *time.Duration { return &c.Lease }, time.Second, 10*time.Minute),
		get:   func(c *Config) string { return short(c.Lease) },
	},
	{
		Key: "attempt_timeout", Flag: "attempt-timeout", Help: "How long one attempt may run before the next one starts.",
		Wants: "a duration between 1s and 24h, such as 5m",
		set:   duration(func(c *Config) *time.Duration { return &c.AttemptTimeout }, time.Second, 24*time.Hour),
		get:   func(c *Config) string { return short(c.AttemptTimeout) },
	},
	{
		Key: "max_attempts", Flag: "max-attempts", Help: "Crashed attempts after which an instance is parked.",
		Wants: "a whole number between 1 and 1000",
		set:   maxAttempts, get: func(c *Config) string { return strconv.Itoa(c.MaxAttempts) },
	},
	{
		Key: "token", Flag: "token", Help: "Bearer token that every caller over TCP must send; the Unix socket needs none.",
		Wants: "at least 16 printable characters without spaces", Secret: true,
		set: token, get: func(c *Config) string { return c.Token },
	},
	{
		Key: "telemetry.otlp", Flag: "otlp", Help: "OpenTelemetry collector (OTLP over gRPC) that gets the traces.",
		Wants: `host:port, an http:// or https:// URL, or "off"`,
		set:   otlp, get: func(c *Config) string { return orOff(c.OTLP) },
	},
}

func orOff(s string) string {
	if s == "" {
		return "off"
	}
	return s
}

// The setters return what is wrong with the text, as a phrase; the caller puts the place before and Wants behind it.

func realm(c *Config, text string) error {
	if text == "" || len(text) > 64 {
		return fmt.Errorf("is %d bytes long", len(text))
	}
	for _, r := range text {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-._", r) {
			return fmt.Errorf("contains %q", r)
		}
	}
	c.Realm = text
	return nil
}

func address(field func(*Config) *string) func(*Config, string) error {
	return func(c *Config, text string) error {
		if text == "off" {
			*field(c) = ""
			return nil
		}
		host, port, err := net.SplitHostPort(text)
		if err != nil {
			return fmt.Errorf("%q is no address", text)
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil {
			return fmt.Errorf("%q is no port", port)
		} else {
			*field(c) = net.JoinHostPort(host, strconv.FormatUint(n, 10))
		}
		return nil
	}
}

func socket(c *Config, text string) error {
	switch {
	case text == "off":
		text = ""
	case text == "":
		return fmt.Errorf("is empty")
	case len(text) > 100: // the kernel's limit is 108 with the closing NUL, and 104 on macOS
		return fmt.Errorf("is %d bytes long", len(text))
	}
	c.Socket = text
	return nil
}

func storeKind(c *Config, text string) error {
	if text != "memory" && text != "pebble" {
		return fmt.Errorf("%q is no store", text)
	}
	c.Store = text
	return nil
}

func directory(c *Config, text string) error {
	if text == "" {
		return fmt.Errorf("is empty")
	}
	c.Dir = text
	return nil
}

func fsync(c *Config, text string) error {
	switch text {
	case "true":
		c.Fsync = true
	case "false":
		c.Fsync = false
	default:
		return fmt.Errorf("%q is neither", text)
	}
	return nil
}

func cache(c *Config, text string) error {
	n, err := parseSize(text)
	if err != nil {
		return err
	}
	if n < 1<<20 || n > 64<<30 {
		return fmt.Errorf("%s is out of range", text)
	}
	c.CacheBytes = n
	return nil
}

func duration(field func(*Config) *time.Duration, least, most time.Duration) func(*Config, string) error {
	return func(c *Config, text string) error {
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%q is no duration", text)
		}
		if d < least || d > most {
			return fmt.Errorf("%s is out of range", text)
		}
		*field(c) = d
		return nil
	}
}

func maxAttempts(c *Config, text string) error {
	n, err := strconv.Atoi(text)
	if err != nil {
		return fmt.Errorf("%q is no whole number", text)
	}
	if n < 1 || n > 1000 {
		return fmt.Errorf("%d is out of range", n)
	}
	c.MaxAttempts = n
	return nil
}

func token(c *Config, text string) error {
	if len(text) < 16 {
		return fmt.Errorf("has %d characters", len(text))
	}
	for _, r := range text {
		if r <= ' ' || r > '~' {
			return fmt.Errorf("contains a character that a header cannot carry")
		}
	}
	c.Token = text
	return nil
}

func otlp(c *Config, text string) error {
	if text == "off" {
		c.OTLP = ""
		return nil
	}
	if u, err := url.Parse(text); err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" {
		c.OTLP = text
		return nil
	}
	if _, _, err := net.SplitHostPort(text); err != nil {
		return fmt.Errorf("%q is no address", text)
	}
	c.OTLP = text
	return nil
}

var units = []struct {
	name  string
	bytes int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

func parseSize(text string) (int64, error) {
	for _, u := range units {
		if digits, ok := strings.CutSuffix(text, u.name); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 32)
			if err != nil {
				return 0, fmt.Errorf("%q is no size", text)
			}
			return n * u.bytes, nil
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is no size", text)
	}
	return n, nil
}

func size(n int64) string {
	for _, u := range units {
		if n >= u.bytes && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// short drops the zero parts that Duration.String keeps: 5m, not 5m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// loopback says whether only programs on this machine can reach the address.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
