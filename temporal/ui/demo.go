package main

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"os"
	"strings"
)

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
