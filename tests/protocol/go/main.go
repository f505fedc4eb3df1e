// One round of Eclipse Paho's two Go clients over TLS: publish, subscribe, retained, will, persistent session.
// usage: round PORT CA_FILE USERNAME PASSWORD VERSION; exit 0 and "ok" when every step held.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"time"
)

const (
	stepMax     = 10 * time.Second
	messagesMax = 16
	keptS       = 60
)

type message struct {
	topic, payload string
	retain         bool
}

// guest is what the round asks of a client in either version. Each call returns when the broker has answered.
type guest interface {
	subscribe(topic string, qos byte)
	publish(topic, payload string, qos byte, retain bool)
	messages() <-chan message
	leave()
	// cut closes the connection without DISCONNECT.
	cut()
}

type wish struct {
	name string
	kept bool
	will *message
}

type server struct {
	port, username, password, version string
	tls                               *tls.Config
	open                              func(*server, wish) guest
}

func (s *server) guest(name string) guest { return s.open(s, wish{name: name}) }

func (s *server) dial() (net.Conn, error) {
	return tls.DialWithDialer(&net.Dialer{Timeout: stepMax}, "tcp", "localhost:"+s.port, s.tls)
}

func must(what string, problem error) {
	if problem != nil {
		fail(what, problem)
	}
}

func fail(words ...any) {
	fmt.Fprintln(os.Stderr, words...)
	os.Exit(1)
}

func expect(g guest, expected message) {
	select {
	case found := <-g.messages():
		if found != expected {
			fail(found, "is not", expected)
		}
	case <-time.After(stepMax):
		fail("no message came, expected", expected)
	}
}

func publishSubscribe(s *server) {
	g := s.guest("ga")
	for qos := range byte(3) {
		topic := fmt.Sprintf("go/%d", qos)
		g.subscribe(topic, qos)
		g.publish(topic, "hello", qos, false)
		expect(g, message{topic, "hello", false})
	}
	g.leave()
}

func retained(s *server) {
	g := s.guest("ga")
	g.publish("go/kept", "kept", 1, true)
	g.subscribe("go/kept", 1)
	expect(g, message{"go/kept", "kept", true})
	g.publish("go/kept", "", 1, true)
	g.leave()
}

func will(s *server) {
	witness := s.guest("ga")
	witness.subscribe("go/will", 1)
	last := message{"go/will", "gone", false}
	s.open(s, wish{name: "gb", will: &last}).cut()
	expect(witness, last)
	witness.leave()
}

func persistentSession(s *server) {
	texts := []string{"first", "second", "third"}
	kept := wish{name: "gc-" + s.version, kept: true} // a session belongs to one version here
	away := s.open(s, kept)
	away.subscribe("go/away/#", 2)
	away.leave()
	publisher := s.guest("ga")
	for _, text := range texts {
		publisher.publish("go/away/1", text, 1, false)
	}
	publisher.publish("go/away/2", "last", 2, false)
	publisher.leave()
	back := s.open(s, kept)
	for _, text := range texts {
		expect(back, message{"go/away/1", text, false})
	}
	expect(back, message{"go/away/2", "last", false})
	back.leave()
}

func trusting(file string) *tls.Config {
	data, problem := os.ReadFile(file)
	must("CA file", problem)
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(data) {
		fail("no certificate in", file)
	}
	return &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS12}
}

func main() {
	if len(os.Args) != 6 {
		fail("usage: round PORT CA_FILE USERNAME PASSWORD VERSION")
	}
	s := &server{port: os.Args[1], username: os.Args[3], password: os.Args[4], version: os.Args[5]}
	s.tls = trusting(os.Args[2])
	switch s.version {
	case "4":
		s.open = openV3
	case "5":
		s.open = openV5
	default:
		fail("no version", s.version)
	}
	for _, step := range []func(*server){publishSubscribe, retained, will, persistentSession} {
		step(s)
	}
	fmt.Println("ok")
}
