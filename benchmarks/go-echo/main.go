// A measure: a bare grpc-go server whose Publish answers with a counter, and does nothing else.
//
// Requests and responses are the same bytes as the broker's, and no protobuf is decoded. Prints the port it listens on.
package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
)

// idField is the key of PublishResponse.id: field 1, a varint.
const idField = 0x08

// raw hands the bytes of messages through.
type raw struct{}

func (raw) Name() string { return "raw" }

func (raw) Marshal(message any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(message.([]byte))}, nil
}

func (raw) Unmarshal(data mem.BufferSlice, message any) error {
	*message.(*[]byte) = data.Materialize()
	return nil
}

type broker struct{ lastID atomic.Uint64 }

func (b *broker) publish([]byte) []byte {
	return binary.AppendUvarint([]byte{idField}, b.lastID.Add(1))
}

func handlePublish(server any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	var request []byte
	if err := decode(&request); err != nil {
		return nil, err
	}
	return server.(*broker).publish(request), nil
}

var service = grpc.ServiceDesc{
	ServiceName: "broker.Broker",
	HandlerType: (*any)(nil),
	Methods:     []grpc.MethodDesc{{MethodName: "Publish", Handler: handlePublish}},
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer(grpc.ForceServerCodecV2(raw{}))
	server.RegisterService(&service, &broker{})
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	go func() {
		<-stop
		server.Stop()
	}()
	fmt.Printf("ready listen=%s\n", listener.Addr())
	if err := server.Serve(listener); err != nil {
		log.Fatal(err)
	}
}
