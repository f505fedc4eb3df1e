// A mochi-mqtt server for the benchmark: one account, topic rules, a plain and a TLS port.
// Arguments: PORT TLS_PORT CERTIFICATE KEY USERNAME PASSWORD
package main

import (
	"crypto/tls"
	"log"
	"os"
	"os/signal"
	"syscall"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"
)

func main() {
	port, tlsPort, certificate, key, username, password := os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5], os.Args[6]
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		log.Fatal(err)
	}
	server := mqtt.New(nil)
	ledger := &auth.Ledger{Users: auth.Users{username: {
		Username: auth.RString(username),
		Password: auth.RString(password),
		ACL:      auth.Filters{"bench/#": auth.ReadWrite, "churn/#": auth.ReadOnly},
	}}}
	if err := server.AddHook(new(auth.Hook), &auth.Options{Ledger: ledger}); err != nil {
		log.Fatal(err)
	}
	secure := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13}
	for _, listener := range []listeners.Config{
		{ID: "plain", Address: "127.0.0.1:" + port},
		{ID: "tls", Address: "127.0.0.1:" + tlsPort, TLSConfig: secure},
	} {
		if err := server.AddListener(listeners.NewTCP(listener)); err != nil {
			log.Fatal(err)
		}
	}
	if err := server.Serve(); err != nil {
		log.Fatal(err)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	<-stop
	_ = server.Close()
}
