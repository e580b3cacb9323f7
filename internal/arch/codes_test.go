package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// A code that something branches on is part of a port: whoever writes it down a second
// time does not notice when the first changes.
func TestCodesAreComparedByName(t *testing.T) {
	t.Parallel()
	for _, top := range []string{"internal", "cmd", "deploy"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			fset := token.NewFileSet()
			file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if code := comparedLiteral(n); code != nil {
					t.Errorf("%s compares a code with %s; name it where it is defined", fset.Position(code.Pos()), code.Value)
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// comparedLiteral returns the text that n compares with the code of a fault or reason,
// in whichever way: x.Code == "a", "a" != fault.Code(err), switch x.Code, or
// slices.Contains([]string{"a"}, x.Code). The empty text is no code.
func comparedLiteral(n ast.Node) *ast.BasicLit {
	var among []ast.Expr
	var compared ast.Expr
	switch n := n.(type) {
	case *ast.BinaryExpr:
		if n.Op != token.EQL && n.Op != token.NEQ {
			return nil
		}
		compared, among = n.X, []ast.Expr{n.Y}
		if _, first := n.X.(*ast.BasicLit); first {
			compared, among = n.Y, []ast.Expr{n.X}
		}
	case *ast.SwitchStmt:
		compared = n.Tag
		for _, s := range n.Body.List {
			among = append(among, s.(*ast.CaseClause).List...)
		}
	case *ast.CallExpr:
		if len(n.Args) != 2 {
			return nil
		}
		if list, ok := n.Args[0].(*ast.CompositeLit); ok {
			compared, among = n.Args[1], list.Elts
		}
	}
	if !isCode(compared) {
		return nil
	}
	for _, e := range among {
		if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING && lit.Value != `""` {
			return lit
		}
	}
	return nil
}

// isCode reports whether e is x.Code or fault.Code(err).
func isCode(e ast.Expr) bool {
	if call, ok := e.(*ast.CallExpr); ok {
		e = call.Fun
	}
	sel, ok := e.(*ast.SelectorExpr)
	return ok && sel.Sel.Name == "Code"
}
