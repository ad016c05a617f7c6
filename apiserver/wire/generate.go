// Command generate prints fields.json: what each field number of a protobuf body means in JSON.
//
// Field numbers, and whether Go holds a field by value or by pointer, are no part of the OpenAPI definitions; upstream's
// Go types carry both, so they are read from there, by reflection. With Debian 13's golang-go and
// golang-k8s-client-go-dev (0.32):
//
//	GO111MODULE=off GOPATH=/usr/share/gocode go run apiserver/wire/generate.go > apiserver/wire/fields.json
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"sort"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
)

// What v1.32 serves or can be made to serve; Go's scheme also knows versions that are gone.
var served = regexp.MustCompile(`^([^/]*/)?v[12]$|^(admissionregistration|certificates|coordination|internal` +
	`|networking|resource|storage|storagemigration)\..*/v1(alpha|beta)\d$`)

// field is [name in JSON, type, how]; see table.py for what type and how say.
type field [3]string

var scalars = map[reflect.Kind]string{
	reflect.String: "s", reflect.Bool: "o", reflect.Int32: "i", reflect.Int64: "i", reflect.Int: "i", reflect.Float64: "d",
}

// special types have an encoding of their own: their fields are not looked into.
var special = map[string]bool{
	"meta.v1.Time": true, "meta.v1.MicroTime": true, "meta.v1.FieldsV1": true, "runtime.RawExtension": true,
	"api.resource.Quantity": true, "util.intstr.IntOrString": true,
}

func main() {
	messages := map[string]map[string]field{}
	for gvk, kind := range scheme.Scheme.AllKnownTypes() {
		list := strings.HasSuffix(gvk.Kind, "List") || strings.HasSuffix(gvk.Kind, "Options") || gvk.Kind == "WatchEvent"
		if served.MatchString(gvk.GroupVersion().String()) && !list {
			walk(kind, messages)
		}
	}
	walk(reflect.TypeOf(metav1.DeleteOptions{}), messages)
	names := make([]string, 0, len(messages))
	for name := range messages {
		names = append(names, name)
	}
	sort.Strings(names)
	fmt.Print("{")
	for i, name := range names {
		if i > 0 {
			fmt.Print(",\n")
		}
		content, err := json.Marshal(messages[name])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Printf("%q:%s", name, content)
	}
	fmt.Println("}")
}

func walk(kind reflect.Type, messages map[string]map[string]field) {
	name := message(kind)
	if _, seen := messages[name]; seen {
		return
	}
	fields := map[string]field{}
	messages[name] = fields
	if special[name] || kind.Kind() != reflect.Struct {
		return
	}
	for i := 0; i < kind.NumField(); i++ {
		member := kind.Field(i)
		wire := strings.Split(member.Tag.Get("protobuf"), ",")
		if len(wire) < 2 {
			continue // TypeMeta travels in the envelope
		}
		described, of := describe(member)
		fields[wire[1]] = described
		if len(described[1]) > 1 {
			walk(of, messages)
		}
	}
}

// describe gives the field, and the Go type of the message that it holds.
func describe(member reflect.StructField) (field, reflect.Type) {
	tag := strings.Split(member.Tag.Get("json"), ",")
	name, of, how := tag[0], member.Type, ""
	embedded := member.Anonymous && name == ""
	if name == "" {
		name = member.Name
	}
	omitted := len(tag) > 1 && tag[1] == "omitempty"
	switch {
	case embedded:
		how = "~"
	case of.Kind() == reflect.Pointer:
		how = "?"
	case of.Kind() == reflect.Map:
		how = "%"
	case of.Kind() == reflect.Slice && of.Elem().Kind() != reflect.Uint8 && of.Name() == "":
		how = "*"
	case !omitted:
		how = "?"
	}
	if how == "%" || how == "*" || of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	return field{name, typeOf(of), how}, of
}

func typeOf(of reflect.Type) string {
	if scalar, ok := scalars[of.Kind()]; ok {
		return scalar
	}
	if of.Kind() == reflect.Slice && of.Elem().Kind() == reflect.Uint8 {
		return "b"
	}
	return message(of)
}

// message names k8s.io/api/core/v1.Pod "core.v1.Pod".
func message(of reflect.Type) string {
	path := of.PkgPath()
	for _, prefix := range []string{"k8s.io/apimachinery/pkg/apis/", "k8s.io/apimachinery/pkg/", "k8s.io/api/"} {
		path = strings.TrimPrefix(path, prefix)
	}
	return strings.ReplaceAll(path, "/", ".") + "." + of.Name()
}
