package main

import (
	"context"
	"net"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
)

type guestV5 struct {
	client     *paho.Client
	connection net.Conn
	inbox      chan message
}

func openV5(s *server, w wish) guest {
	connection, problem := s.dial()
	must("dial", problem)
	g := &guestV5{connection: connection, inbox: make(chan message, messagesMax)}
	g.client = paho.NewClient(paho.ClientConfig{
		// A client writes from two goroutines at once: without the lock their packets mix on a TLS connection.
		Conn: packets.NewThreadSafeConn(connection),
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(received paho.PublishReceived) (bool, error) {
			m := received.Packet
			g.inbox <- message{m.Topic, string(m.Payload), m.Retain}
			return true, nil
		}},
	})
	hello := &paho.Connect{
		ClientID:     s.username + "-" + w.name,
		KeepAlive:    30,
		CleanStart:   !w.kept,
		Username:     s.username,
		UsernameFlag: true,
		Password:     []byte(s.password),
		PasswordFlag: true,
	}
	if w.kept {
		hello.Properties = &paho.ConnectProperties{SessionExpiryInterval: paho.Uint32(keptS)}
	}
	if w.will != nil {
		hello.WillMessage = &paho.WillMessage{Topic: w.will.topic, Payload: []byte(w.will.payload), QoS: 1}
	}
	limit, cancel := context.WithTimeout(context.Background(), stepMax)
	defer cancel()
	_, problem = g.client.Connect(limit, hello)
	must("CONNECT", problem)
	return g
}

func (g *guestV5) subscribe(topic string, qos byte) {
	limit, cancel := context.WithTimeout(context.Background(), stepMax)
	defer cancel()
	answer, problem := g.client.Subscribe(limit, &paho.Subscribe{
		Subscriptions: []paho.SubscribeOptions{{Topic: topic, QoS: qos}},
	})
	must("SUBSCRIBE", problem)
	if answer.Reasons[0] != qos {
		fail("granted", answer.Reasons[0], "not", qos)
	}
}

func (g *guestV5) publish(topic, payload string, qos byte, retain bool) {
	limit, cancel := context.WithTimeout(context.Background(), stepMax)
	defer cancel()
	_, problem := g.client.Publish(limit, &paho.Publish{Topic: topic, Payload: []byte(payload), QoS: qos, Retain: retain})
	must("PUBLISH", problem)
}

func (g *guestV5) messages() <-chan message { return g.inbox }

func (g *guestV5) leave() { must("DISCONNECT", g.client.Disconnect(&paho.Disconnect{})) }

func (g *guestV5) cut() { must("close", g.connection.Close()) }
