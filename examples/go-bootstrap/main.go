// A function on provided.al2023 in Go without any library: the Runtime API over net/http.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"runtime"
)

type event struct {
	Name   string `json:"name"`
	Stream int    `json:"stream"`
	Fail   string `json:"fail"`
}

func main() {
	api := "http://" + os.Getenv("AWS_LAMBDA_RUNTIME_API") + "/2018-06-01/runtime/invocation/"
	for {
		next, err := http.Get(api + "next")
		if err != nil {
			log.Fatal(err)
		}
		body, err := io.ReadAll(next.Body)
		next.Body.Close()
		if err != nil {
			log.Fatal(err)
		}
		id := next.Header.Get("Lambda-Runtime-Aws-Request-Id")
		answer(api+id, body)
	}
}

func answer(place string, body []byte) {
	var in event
	if err := json.Unmarshal(body, &in); err != nil {
		fail(place, "InvalidEvent", err.Error())
		return
	}
	switch {
	case in.Fail != "":
		fail(place, "Failed", in.Fail)
	case in.Stream > 0:
		stream(place, in.Stream)
	default:
		log.Printf("greeting %q", in.Name)
		out, _ := json.Marshal(map[string]any{"greeting": "Hello, " + in.Name + "!", "go": runtime.Version(), "handler": os.Getenv("_HANDLER")})
		post(place+"/response", out, nil)
	}
}

// stream sends so many pieces, each as soon as it is there.
func stream(place string, pieces int) {
	reader, writer := io.Pipe()
	go func() {
		for i := 0; i < pieces; i++ {
			fmt.Fprintf(writer, "piece %d\n", i)
		}
		writer.Close()
	}()
	request, err := http.NewRequest("POST", place+"/response", reader)
	if err != nil {
		log.Fatal(err)
	}
	request.Header.Set("Lambda-Runtime-Function-Response-Mode", "streaming")
	request.Header.Set("Content-Type", "text/plain")
	send(request)
}

func fail(place, kind, text string) {
	out, _ := json.Marshal(map[string]string{"errorType": kind, "errorMessage": text})
	post(place+"/error", out, http.Header{"Lambda-Runtime-Function-Error-Type": {"Function." + kind}})
}

func post(url string, body []byte, header http.Header) {
	request, err := http.NewRequest("POST", url, bytes.NewReader(body))
	if err != nil {
		log.Fatal(err)
	}
	for name, values := range header {
		request.Header[name] = values
	}
	send(request)
}

func send(request *http.Request) {
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		log.Fatal(err)
	}
	io.Copy(io.Discard, response.Body)
	response.Body.Close()
}
