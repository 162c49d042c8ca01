// Command temporal-ui serves Temporal's web interface for the demonstration of `make temporal`.
//
// It is a module of its own, so that the server's module does not depend on the interface. In production the interface gets the caller's
// token from the login of the company. The demonstration has no login, so GET /demo puts the given token where the interface looks for it.
package main

import (
	"flag"
	"log"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/temporalio/ui-server/v2/server"
	"github.com/temporalio/ui-server/v2/server/config"
	"github.com/temporalio/ui-server/v2/server/server_options"
)

// fixed is a configuration that never changes.
type fixed struct{ config *config.Config }

func (f fixed) GetConfig() (*config.Config, error) { return f.config, nil }

func main() {
	temporal := flag.String("temporal", "127.0.0.1:7233", "address of the Temporal frontend")
	port := flag.Int("port", 8080, "port of the interface, on the loopback address")
	inner := flag.Int("inner-port", 8081, "port of the interface behind this program")
	codec := flag.String("codec", "", "address of the codec server; empty for none")
	token := flag.String("token", "", "file with the token for the codec server")
	flag.Parse()

	ui := server.NewServer(server_options.WithConfigProvider(fixed{&config.Config{
		TemporalGRPCAddress: *temporal,
		Host:                "127.0.0.1",
		Port:                *inner,
		EnableUI:            true,
		HideLogs:            true,
		DisableNewsFetch:    true,
		RefreshInterval:     time.Hour,
		CORS:                config.CORS{CookieInsecure: true},
		Codec:               config.Codec{Endpoint: *codec, PassAccessToken: true},
	}}))
	go func() { log.Fatal(ui.Start()) }()

	target := &url.URL{Scheme: "http", Host: "127.0.0.1:" + strconv.Itoa(*inner)}
	mux := http.NewServeMux()
	mux.Handle("/", interfaceWithLogin(target))
	mux.HandleFunc("GET /demo", demo(*token))
	log.Fatal(http.ListenAndServe("127.0.0.1:"+strconv.Itoa(*port), mux))
}
