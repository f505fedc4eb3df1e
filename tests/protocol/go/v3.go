package main

import (
	"fmt"
	"net"
	"net/url"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

const quiesceMs = 250

type guestV3 struct {
	client     mqtt.Client
	connection net.Conn
	inbox      chan message
}

func openV3(s *server, w wish) guest {
	g := &guestV3{inbox: make(chan message, messagesMax)}
	options := mqtt.NewClientOptions().
		AddBroker("tls://localhost:" + s.port).
		SetClientID(s.username + "-" + w.name).
		SetUsername(s.username).
		SetPassword(s.password).
		SetProtocolVersion(4).
		SetCleanSession(!w.kept).
		SetAutoReconnect(false).
		SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) {
			g.inbox <- message{m.Topic(), string(m.Payload()), m.Retained()}
		}).
		SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) {
			connection, problem := s.dial()
			g.connection = connection
			return connection, problem
		})
	if w.will != nil {
		options.SetWill(w.will.topic, w.will.payload, 1, false)
	}
	g.client = mqtt.NewClient(options)
	answered("CONNECT", g.client.Connect())
	return g
}

func (g *guestV3) subscribe(topic string, qos byte) {
	token := g.client.Subscribe(topic, qos, nil)
	answered("SUBSCRIBE", token)
	if granted := token.(*mqtt.SubscribeToken).Result()[topic]; granted != qos {
		fail("granted", granted, "not", qos)
	}
}

func (g *guestV3) publish(topic, payload string, qos byte, retain bool) {
	answered("PUBLISH", g.client.Publish(topic, qos, retain, payload))
}

func (g *guestV3) messages() <-chan message { return g.inbox }

func (g *guestV3) leave() { g.client.Disconnect(quiesceMs) }

func (g *guestV3) cut() { must("close", g.connection.Close()) }

func answered(what string, token mqtt.Token) {
	if !token.WaitTimeout(stepMax) {
		must(what, fmt.Errorf("no answer within %v", stepMax))
	}
	must(what, token.Error())
}
