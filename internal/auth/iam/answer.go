package iam

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"

	"cortex.dev/cortex/internal/auth"
)

const stsNamespace = "https://sts.amazonaws.com/doc/2011-06-15/"

// maxElements bounds what is walked of an answer; the real one has seven.
const maxElements = 32

// The elements of an answer that counts, by their path. What is "exactly once" is
// counted; everything that is not here makes the whole no answer.
//
// encoding/xml's Unmarshal would not do: it takes XML inside other text, junk
// before and after it, any namespace, and the last of two equal elements.
const (
	pathRoot    = "GetCallerIdentityResponse"
	pathResult  = pathRoot + "/GetCallerIdentityResult"
	pathArn     = pathResult + "/Arn"
	pathUserID  = pathResult + "/UserId"
	pathAccount = pathResult + "/Account"
	pathMeta    = pathRoot + "/ResponseMetadata"
	pathRequest = pathMeta + "/RequestId"

	pathErrorRoot = "ErrorResponse"
	pathError     = pathErrorRoot + "/Error"
	pathCode      = pathError + "/Code"
)

// readIdentity reads who STS says it is, strictly.
func readIdentity(body []byte) (auth.Principal, error) {
	texts, err := walk(body, map[string]bool{
		pathRoot: false, pathResult: false, pathMeta: false,
		pathArn: true, pathUserID: true, pathAccount: true, pathRequest: true,
	})
	if err != nil {
		return auth.Principal{}, because(unavailable(ReasonAnswer), err)
	}
	for _, path := range []string{pathResult, pathArn, pathUserID, pathAccount} {
		if _, ok := texts[path]; !ok {
			return auth.Principal{}, because(unavailable(ReasonAnswer), errors.New("an element is missing"))
		}
	}
	who, err := auth.ParseIdentity(texts[pathArn], texts[pathUserID], texts[pathAccount])
	if err != nil {
		return auth.Principal{}, because(unproven(ReasonIdentity), err)
	}
	return who, nil
}

// readErrorCode returns the code of an ErrorResponse, or "" when it is none.
func readErrorCode(body []byte) string {
	texts, err := walk(body, map[string]bool{
		pathErrorRoot: false, pathError: false, pathErrorRoot + "/RequestId": true,
		pathError + "/Type": true, pathCode: true, pathError + "/Message": true, pathError + "/Detail": true,
	})
	if err != nil {
		return ""
	}
	return texts[pathCode]
}

// walk reads a document that consists of exactly the known elements, each at most
// once, of the namespace of STS, without attributes but that namespace; text only
// where leaf says so. It returns the text of each element by its path.
func walk(body []byte, known map[string]bool) (map[string]string, error) {
	dec := xml.NewDecoder(bytes.NewReader(body))
	dec.Strict = true
	dec.Entity = map[string]string{} // none but the five of XML itself
	texts := map[string]string{}
	var open []string
	rootSeen := false
	for {
		start := dec.InputOffset()
		token, err := dec.RawToken()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, errors.New("it is not XML")
		}
		switch t := token.(type) {
		case xml.StartElement:
			if len(open) == 0 && rootSeen || len(texts) >= maxElements {
				return nil, errors.New("there is more than one answer")
			}
			rootSeen = true
			if err := attributes(t, len(open) == 0); err != nil {
				return nil, err
			}
			open = append(open, t.Name.Local)
			path := strings.Join(open, "/")
			if _, ok := known[path]; !ok {
				return nil, errors.New("there is an unknown element")
			}
			if _, twice := texts[path]; twice {
				return nil, errors.New("an element is there twice")
			}
			texts[path] = ""
		case xml.EndElement:
			if len(open) == 0 || t.Name.Space != "" || t.Name.Local != open[len(open)-1] {
				return nil, errors.New("its elements do not fit")
			}
			open = open[:len(open)-1]
		case xml.CharData:
			path := strings.Join(open, "/")
			switch {
			case bytes.HasPrefix(body[start:], []byte("<![CDATA[")):
				return nil, errors.New("there is CDATA in it")
			case known[path]:
				texts[path] += string(t)
			case len(bytes.TrimLeft(t, " \t\r\n")) > 0:
				return nil, errors.New("there is text between elements")
			}
		case xml.ProcInst:
			// The declaration, at the very beginning only.
			if t.Target != "xml" || start != 0 {
				return nil, errors.New("there is an instruction in it")
			}
		default: // comments, DOCTYPE
			return nil, errors.New("there is more than elements in it")
		}
	}
	if len(open) > 0 || !rootSeen {
		return nil, errors.New("it ends in the middle")
	}
	return texts, nil
}

// attributes allows the namespace declaration on the root, and nothing else.
func attributes(t xml.StartElement, root bool) error {
	if t.Name.Space != "" {
		return errors.New("an element has a prefix")
	}
	if !root {
		if len(t.Attr) > 0 {
			return errors.New("an element has attributes")
		}
		return nil
	}
	if len(t.Attr) != 1 || t.Attr[0].Name != (xml.Name{Local: "xmlns"}) || t.Attr[0].Value != stsNamespace {
		return errors.New("it is not of the namespace of STS")
	}
	return nil
}
