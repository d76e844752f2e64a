import java.io.StringWriter;
import java.math.BigDecimal;
import java.sql.*;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.postgresql.PGConnection;

/** PostgreSQL's JDBC driver against a server with flights: what DBeaver, Metabase and others ask of it. */
public class Client {
    static Connection c;

    static List<String> column(ResultSet rows, String name) throws SQLException {
        List<String> found = new ArrayList<>();
        while (rows.next()) found.add(rows.getString(name));
        return found;
    }

    static void check(boolean holds, Object why) {
        if (!holds) throw new AssertionError(String.valueOf(why));
    }

    static long count(String where, Object... values) throws SQLException {
        PreparedStatement question = c.prepareStatement("SELECT count(*) FROM flights WHERE " + where);
        for (int i = 0; i < values.length; i++) question.setObject(i + 1, values[i]);
        ResultSet rows = question.executeQuery();
        rows.next();
        return rows.getLong("count");
    }

    static void refused(String sql, String code) {
        try {
            c.createStatement().executeQuery(sql);
        } catch (SQLException error) {
            check(error.getSQLState().equals(code), sql + ": " + error.getSQLState() + " " + error.getMessage());
            return;
        }
        throw new AssertionError(sql + " was not refused");
    }

    static void catalog() throws SQLException {
        DatabaseMetaData about = c.getMetaData();
        check(about.getDatabaseProductName().equals("PostgreSQL"), about.getDatabaseProductName());
        List<String> schemas = column(about.getSchemas(), "TABLE_SCHEM");
        check(schemas.containsAll(List.of("stations", "system")), schemas);
        List<String> tables = column(about.getTables(null, "stations", "%", new String[] {"TABLE"}), "TABLE_NAME");
        check(tables.contains("flights"), tables);
        List<String> types = column(about.getColumns(null, "stations", "flights", "carrier"), "TYPE_NAME");
        check(types.equals(List.of("text")), types);
        for (ResultSet nothing : List.of(
                about.getPrimaryKeys(null, "stations", "flights"), about.getImportedKeys(null, "stations", "flights"),
                about.getExportedKeys(null, "stations", "flights"), about.getIndexInfo(null, "stations", "flights", false, false),
                about.getProcedures(null, null, "%"), about.getFunctions(null, null, "%"), about.getUDTs(null, null, "%", null))) {
            check(!nothing.next(), nothing);
        }
        List<String> names = column(about.getTypeInfo(), "TYPE_NAME");
        check(names.containsAll(List.of("int8", "text", "timestamptz", "numeric", "bool")), names);
        check(about.getMaxTableNameLength() == 63, about.getMaxTableNameLength());
        check(about.getSQLKeywords().contains("limit"), about.getSQLKeywords());
        List<String> rights = column(about.getTablePrivileges(null, "stations", "flights"), "PRIVILEGE");
        check(rights.equals(List.of("SELECT")), rights);
    }

    static void values() throws SQLException {
        ResultSet rows = c.createStatement().executeQuery(
            "SELECT flight, CAST(1.5 AS DECIMAL(10, 2)) AS d, _time, DATE '2024-01-02' AS day, TRUE AS b, 1.5 AS f, NULL AS n, "
            + "make_array(1, 2) AS a, _headers FROM flights LIMIT 1");
        ResultSetMetaData about = rows.getMetaData();
        check(about.getPrecision(2) == 10 && about.getScale(2) == 2, about.getColumnTypeName(2));
        rows.next();
        check(rows.getObject("d").equals(new BigDecimal("1.50")), rows.getObject("d"));
        check(rows.getObject("_time") instanceof Timestamp, rows.getObject("_time"));
        check(rows.getObject("day").equals(Date.valueOf("2024-01-02")), rows.getObject("day"));
        check(rows.getObject("b").equals(true) && rows.getObject("f").equals(1.5) && rows.getObject("n") == null, "plain values");
        check(Arrays.equals((Object[]) rows.getArray("a").getArray(), new Object[] {1L, 2L}), rows.getString("a"));
    }

    static void parameters(long united, long american) throws SQLException {
        // From the fifth time on, the driver names the statement and reads in binary.
        for (int i = 0; i < 8; i++) check(count("carrier = ?", "UA") == united, "united");
        Array both = c.createArrayOf("text", new String[] {"UA", "AA"});
        check(count("carrier = ANY(?)", both) == united + american, "both");
        check(count("flight = ANY(?)", c.createArrayOf("int8", new Long[] {})) == 0, "none");
        check(count("_time > ?", new Timestamp(0)) == count("_time > ?", Date.valueOf("1970-01-02")), "times");
        check(count("_time > ?", java.time.OffsetDateTime.parse("2020-01-01T00:00:00Z")) > united, "times");
        check(count("dep_delay > ?", new BigDecimal("1.5")) == count("dep_delay > ?", 1), "numbers");
    }

    static void more() throws Exception {
        c.setAutoCommit(false);
        Statement parts = c.createStatement();
        parts.setFetchSize(100);
        List<String> found = column(parts.executeQuery("SELECT _sequence FROM flights ORDER BY _sequence"), "_sequence");
        check(found.size() > 2000 && found.get(999).equals("1000"), found.size());
        c.commit();
        c.setReadOnly(true);
        c.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
        c.createStatement().executeQuery("SELECT 1 AS a");
        c.rollback();
        c.setAutoCommit(true);
        c.setSchema("system");
        check(c.getSchema().equals("system"), c.getSchema());
        check(column(c.createStatement().executeQuery("SELECT name FROM streams"), "name").contains("flights"), "streams");
        c.setSchema("stations");
        refused("SELECT nope FROM flights", "42703");
        StringWriter file = new StringWriter();
        long lines = c.unwrap(PGConnection.class).getCopyAPI()
            .copyOut("COPY (SELECT carrier FROM flights WHERE carrier = 'UA' LIMIT 2) TO STDOUT WITH CSV HEADER", file);
        check(lines == 2 && file.toString().equals("carrier\nUA\nUA\n"), file);
        Statement slow = c.createStatement();
        slow.setQueryTimeout(1);
        try {
            slow.executeQuery("SELECT count(*) FROM generate_series(1, 10000000) a, generate_series(1, 1000000) b");
            throw new AssertionError("it ended");
        } catch (SQLException error) {
            check(error.getSQLState().equals("57014"), error);
        }
        check(c.isValid(5), "valid");
    }

    public static void main(String[] arguments) throws Exception {
        c = DriverManager.getConnection(arguments[0]);
        catalog();
        values();
        parameters(Long.parseLong(arguments[1]), Long.parseLong(arguments[2]));
        more();
        c.close();
        System.out.println("all done");
    }
}
