package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"strings"
)

const settingsPath = "/api/v1/settings"

// interfaceWithLogin returns a handler that passes requests to the interface, and reports to its pages that there is a login. Without one
// the pages forget the user's token, and send none to the codec server.
func interfaceWithLogin(target *url.URL) http.Handler {
	proxy := httputil.NewSingleHostReverseProxy(target)
	pass := proxy.Director
	proxy.Director = func(r *http.Request) {
		pass(r)
		if r.URL.Path == settingsPath {
			r.Header.Del("Accept-Encoding")
		}
	}
	proxy.ModifyResponse = func(answer *http.Response) error {
		if answer.Request.URL.Path != settingsPath || answer.StatusCode != http.StatusOK {
			return nil
		}
		settings := map[string]any{}
		if err := json.NewDecoder(answer.Body).Decode(&settings); err != nil {
			return err
		}
		settings["Auth"] = map[string]any{"Enabled": true}
		body, err := json.Marshal(settings)
		if err != nil {
			return err
		}
		answer.Body = io.NopCloser(bytes.NewReader(body))
		answer.ContentLength = int64(len(body))
		answer.Header.Set("Content-Length", strconv.Itoa(len(body)))
		return nil
	}
	return proxy
}

// demo returns a handler that signs the browser in with the token of a file, and shows the interface.
func demo(file string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		token, err := os.ReadFile(file)
		if err != nil {
			http.Error(w, "this demonstration has no token for the codec server", http.StatusNotFound)
			return
		}
		text := strings.TrimSpace(string(token))
		user, err := json.Marshal(map[string]string{"AccessToken": text, "IDToken": text, "Name": "demo", "Email": "demo@example.com"})
		if err != nil {
			http.Error(w, "the token can't be encoded", http.StatusInternalServerError)
			return
		}
		http.SetCookie(w, &http.Cookie{
			Name: "user0", Value: base64.StdEncoding.EncodeToString(user), Path: "/", SameSite: http.SameSiteStrictMode, MaxAge: 3600,
		})
		http.Redirect(w, r, "/", http.StatusSeeOther)
	}
}
