package dashboard

// Routes is what pages may ask.
var Routes = routes
